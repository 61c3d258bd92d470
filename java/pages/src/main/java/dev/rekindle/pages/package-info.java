// SPDX-License-Identifier: MIT
/** Pages with charts, for people, of the command line and of the benchmarks. */
@NullMarked
package dev.rekindle.pages;

import org.jspecify.annotations.NullMarked;
