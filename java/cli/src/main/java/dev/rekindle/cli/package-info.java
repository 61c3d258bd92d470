// SPDX-License-Identifier: MIT
/** The {@code rekindle} program. */
@NullMarked
package dev.rekindle.cli;

import org.jspecify.annotations.NullMarked;
