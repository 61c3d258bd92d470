// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.lang.foreign.MemorySegment;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;

/** What native code says with a special value is absent here. */
final class Absent {
    private Absent() {}

    static Optional<String> unlessText(MemorySegment text) {
        return Optional.of(text.getString(0)).filter(string -> !string.isEmpty());
    }

    static OptionalInt unlessPositive(int number) {
        return number > 0 ? OptionalInt.of(number) : OptionalInt.empty();
    }

    static OptionalInt unlessNatural(int number) {
        return number >= 0 ? OptionalInt.of(number) : OptionalInt.empty();
    }

    static OptionalLong unlessPositive(long number) {
        return number > 0 ? OptionalLong.of(number) : OptionalLong.empty();
    }
}
