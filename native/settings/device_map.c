/* SPDX-License-Identifier: MIT */
#include "settings/device_map.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UUID_PREFIX "GPU-"
#define ORDINAL_MAX 1024u

static int digit_of(char character)
{
	if (character >= '0' && character <= '9')
		return character - '0';
	character = (char)tolower((unsigned char)character);
	return character >= 'a' && character <= 'f' ? character - 'a' + 10 : -1;
}

/* 8-4-4-4-12 hexadecimal digits. */
static bool parse_uuid(const char *text, size_t length, uint8_t uuid[16])
{
	size_t at = 0, byte;
	int high, low;

	for (byte = 0; byte < 16; byte++) {
		if ((byte == 4 || byte == 6 || byte == 8 || byte == 10) && (at >= length || text[at++] != '-'))
			return false;
		if (at + 2 > length)
			return false;
		high = digit_of(text[at]);
		low = digit_of(text[at + 1]);
		if (high < 0 || low < 0)
			return false;
		uuid[byte] = (uint8_t)(high * 16 + low);
		at += 2;
	}
	return at == length;
}

static bool parse_name(const char *text, size_t length, struct device_name *name)
{
	size_t prefix = strlen(UUID_PREFIX), at;

	*name = (struct device_name){.is_uuid = length > prefix && !strncasecmp(text, UUID_PREFIX, prefix)};
	if (name->is_uuid)
		return parse_uuid(text + prefix, length - prefix, name->uuid);
	for (at = 0; at < length; at++) {
		if (!isdigit((unsigned char)text[at]))
			return false;
		name->ordinal = name->ordinal * 10 + (uint32_t)(text[at] - '0');
		if (name->ordinal > ORDINAL_MAX)
			return false;
	}
	return length > 0;
}

static bool parse_entry(const char *text, size_t length, struct device_map_entry *entry)
{
	const char *equals = memchr(text, '=', length);

	return equals && parse_name(text, (size_t)(equals - text), &entry->old) &&
	       parse_name(equals + 1, length - (size_t)(equals - text) - 1, &entry->new);
}

int device_map_parse(const char *text, struct device_map *map, struct error_text *error)
{
	const char *part = text;
	size_t length;

	*map = (struct device_map){.same_ordinals = !strcmp(text, "auto")};
	if (!*text || map->same_ordinals)
		return 0;
	if (parse_name(text, strlen(text), &map->entries[0].new)) {
		map->only_one = true;
		map->count = 1;
		return 0;
	}
	for (;;) {
		length = strcspn(part, ",");
		if (map->count == DEVICE_MAP_MAX)
			return fail(error, -EINVAL, "more than %d GPUs are in it", DEVICE_MAP_MAX);
		if (!parse_entry(part, length, &map->entries[map->count]))
			return fail(error, -EINVAL, "\"%.*s\" is not OLD=NEW, each a number or GPU-UUID",
				    length > 100 ? 100 : (int)length, part);
		map->count++;
		if (!part[length])
			return 0;
		part += length + 1;
	}
}

void device_name_write(const struct device_name *name, char text[DEVICE_NAME_TEXT_MAX])
{
	const uint8_t *u = name->uuid;

	if (!name->is_uuid)
		snprintf(text, DEVICE_NAME_TEXT_MAX, "%u", name->ordinal);
	else
		snprintf(text, DEVICE_NAME_TEXT_MAX,
			 UUID_PREFIX "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1],
			 u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
}
