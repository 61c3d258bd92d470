// SPDX-License-Identifier: MIT

/**
 * Auto-configuration for Spring Boot: a {@link dev.rekindle.Rekindle} from properties, its health and its metrics. Only
 * properties that are not set are null; what is given it otherwise throws {@link NullPointerException}.
 */
@NullMarked
package dev.rekindle.spring;

import org.jspecify.annotations.NullMarked;
