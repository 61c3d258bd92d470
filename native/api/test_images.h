/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_TEST_IMAGES_H
#define REKINDLE_API_TEST_IMAGES_H

#include <stdint.h>

#define TEST_IMAGES_HOST_BYTES 12288u

/*
 * Writes the images of a small tree as CRIU lays them out: process pid named "root" with two threads and three pages,
 * and its child pid + 1, a zombie named "child". Makes the folder where it is missing.
 */
void test_images_write(const char *directory, int32_t pid);
/* Says in the images of test_images_write which pid namespaces CRIU and the root of the tree were in; without, they do not
 * say it. */
void test_images_share_namespace(const char *directory, int32_t pid, uint32_t of_criu, uint32_t of_tree);
/* Writes stats-dump and stats-restore with the figures 1, 2, 3 ... in the order of the members. */
void test_images_write_statistics(const char *directory);

#endif
