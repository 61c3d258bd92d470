/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_SUPPORT_PLAIN_TEXT_H
#define REKINDLE_SUPPORT_PLAIN_TEXT_H

#include <stddef.h>

/*
 * Makes text of somebody who is not trusted fit for logs, statistics and terminals, in place: it ends within capacity
 * (which is not 0), every control character, line feed included, and every byte that is no valid UTF-8 becomes a '?'.
 */
void plain_text(char *text, size_t capacity);

/*
 * Copies text into a field of fixed size and always ends it; a NULL text is an empty one. It is plain text then: names of
 * programs and devices, and sentences, can be of anybody's making.
 */
void copy_text(char *field, size_t size, const char *text);

#endif
