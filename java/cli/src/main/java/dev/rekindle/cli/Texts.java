// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.Mode;
import java.time.Duration;
import java.util.Locale;

/** How sizes, times and names are written. */
final class Texts {
    private static final String[] UNITS = {"B", "KiB", "MiB", "GiB", "TiB"};

    private Texts() {}

    static String bytes(long bytes) {
        double value = bytes;
        int unit = 0;
        while (value >= 1024 && unit < UNITS.length - 1) {
            value /= 1024;
            unit++;
        }
        return String.format(Locale.ROOT, unit == 0 ? "%.0f %s" : "%.1f %s", value, UNITS[unit]);
    }

    static String seconds(Duration duration) {
        return String.format(Locale.ROOT, "%.3f s", duration.toNanos() / 1e9);
    }

    static String percent(double share) {
        return String.format(Locale.ROOT, "%.0f %%", share * 100);
    }

    /** How many times, with as many digits as it deserves. */
    static String ratio(double ratio) {
        return String.format(Locale.ROOT, ratio < 10 ? "%.2f×" : "%.1f×", ratio);
    }

    static String lower(Enum<?> value) {
        return value.name().toLowerCase(Locale.ROOT).replace('_', ' ');
    }

    static String mode(Mode mode, String reason) {
        return reason.isEmpty() ? lower(mode) : lower(mode) + " (" + reason + ")";
    }

    static String orDash(String text) {
        return text.isEmpty() ? "-" : text;
    }
}
