// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

/**
 * One line of the doctor's.
 *
 * @param name what was looked at
 * @param status whether it suffices
 * @param found what is there
 * @param needed what has to be there
 * @param fix what to do about it
 */
record Finding(String name, Status status, String found, String needed, String fix) {
    /** From best to worst. */
    enum Status {
        PASS,
        WARN,
        FAIL
    }

    static Finding of(Status bad, boolean suffices, String name, String found, String needed, String fix) {
        return new Finding(name, suffices ? Status.PASS : bad, found, needed, fix);
    }

    static Finding pass(String name, String found) {
        return new Finding(name, Status.PASS, found, "", "");
    }
}
