// SPDX-License-Identifier: MIT
/** JMH benchmarks of Rekindle, and the report of their results. */
@NullMarked
package dev.rekindle.benchmarks;

import org.jspecify.annotations.NullMarked;
