/* SPDX-License-Identifier: MIT */
#include "rekindle.h"

#define TEXT_OF(number) #number
#define VERSION_TEXT(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

const char *rekindle_version(void)
{
	return VERSION_TEXT(REKINDLE_VERSION_MAJOR, REKINDLE_VERSION_MINOR, REKINDLE_VERSION_PATCH);
}

uint32_t rekindle_version_number(void)
{
	return REKINDLE_VERSION_MAJOR * 1000000u + REKINDLE_VERSION_MINOR * 1000u + REKINDLE_VERSION_PATCH;
}
