/* SPDX-License-Identifier: MIT */
#include "support/plain_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

static const char *plain(const char *text)
{
	static char copy[32];

	memset(copy, 'x', sizeof(copy));
	memcpy(copy, text, strlen(text) + 1);
	plain_text(copy, sizeof(copy));
	return copy;
}

static void what_people_write_stays(void **state)
{
	(void)state;
	assert_string_equal(plain(""), "");
	assert_string_equal(plain("export \"failed\": 5 \\ 7 %s"), "export \"failed\": 5 \\ 7 %s");
	assert_string_equal(plain("Gerät, 装置, \xf0\x9f\x94\xa5"), "Gerät, 装置, \xf0\x9f\x94\xa5");
}

static void what_would_move_a_terminal_or_a_log_goes(void **state)
{
	(void)state;
	assert_string_equal(plain("two\nlines\r\t"), "two?lines??");
	assert_string_equal(plain("\x1b[2Jgone\x7f"), "?[2Jgone?");
	assert_string_equal(plain("\xc2\x9b"
				  "31m"),
			    "??31m");
	assert_string_equal(plain("\xe2\x80\xae"
				  "gnp.exe"),
			    "???gnp.exe");
}

static void what_is_no_utf8_goes(void **state)
{
	(void)state;
	assert_string_equal(plain("a\xff"
				  "b\x80"),
			    "a?b?");
	assert_string_equal(plain("\xc0\xaf"), "??");		     /* too long a form of a slash */
	assert_string_equal(plain("\xed\xa0\x80"), "???");	     /* half a surrogate pair */
	assert_string_equal(plain("\xf4\x90\x80\x80"), "????");	     /* beyond the last character */
	assert_string_equal(plain("\xf8\x88\x80\x80\x80"), "?????"); /* five bytes */
	assert_string_equal(plain("cut \xe2\x82"), "cut ??");
}

static void it_ends_within_its_room(void **state)
{
	char text[8];

	(void)state;
	memset(text, 'x', sizeof(text));
	plain_text(text, sizeof(text));
	assert_string_equal(text, "xxxxxxx");
	memcpy(text, "12345\xc3\xa4x", 8);
	plain_text(text, 7);
	assert_string_equal(text, "12345?");
	plain_text(text, 1);
	assert_string_equal(text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_people_write_stays),
		cmocka_unit_test(what_would_move_a_terminal_or_a_log_goes),
		cmocka_unit_test(what_is_no_utf8_goes),
		cmocka_unit_test(it_ends_within_its_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
