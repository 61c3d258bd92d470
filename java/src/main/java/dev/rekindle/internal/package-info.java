// SPDX-License-Identifier: MIT
/** What this library shares with the jars of its platforms, and nobody else. */
@NullMarked
package dev.rekindle.internal;

import org.jspecify.annotations.NullMarked;
