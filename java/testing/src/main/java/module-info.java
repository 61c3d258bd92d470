// SPDX-License-Identifier: MIT

/** A simulated GPU for JUnit tests of programs that use Rekindle. */
module dev.rekindle.test {
    requires transitive dev.rekindle;
    requires transitive org.junit.jupiter.api;
    requires static transitive org.jspecify;

    exports dev.rekindle.test;
}
