// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

/** Options that belong together for a kind of program. {@link RunOptions} says what each sets. */
enum Preset {
    /** A server that answers over TCP, with caches and locks in files. */
    INFERENCE
}
