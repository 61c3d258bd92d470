/* SPDX-License-Identifier: MIT */
#include "support/plain_text.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Bytes of the character at the start of text, 0 where there is no valid one. It ends with a NUL. */
static size_t character_bytes(const unsigned char *text, uint32_t *character)
{
	static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t bytes, i;

	if (text[0] < 0x80) {
		*character = text[0];
		return 1;
	}
	bytes = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
	if (text[0] < 0xc0 || text[0] > 0xf7)
		return 0;
	*character = text[0] & (0x7fu >> bytes);
	for (i = 1; i < bytes; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		*character = *character << 6 | (text[i] & 0x3f);
	}
	if (*character < lowest[bytes] || *character > 0x10ffff || (*character >= 0xd800 && *character <= 0xdfff))
		return 0;
	return bytes;
}

/* Also those of C1, and the marks that turn the direction of what follows. */
static bool is_control(uint32_t character)
{
	return character < 0x20 || (character >= 0x7f && character < 0xa0) ||
	       (character >= 0x2028 && character <= 0x202e) || (character >= 0x2066 && character <= 0x2069);
}

void plain_text(char *text, size_t capacity)
{
	uint32_t character = 0;
	size_t bytes;
	char *at;

	text[capacity - 1] = '\0';
	for (at = text; *at; at += bytes) {
		bytes = character_bytes((const unsigned char *)at, &character);
		if (bytes && !is_control(character))
			continue;
		if (bytes == 0)
			bytes = 1;
		memset(at, '?', bytes);
	}
}

void copy_text(char *field, size_t size, const char *text)
{
	snprintf(field, size, "%s", text ? text : "");
	plain_text(field, size);
}
