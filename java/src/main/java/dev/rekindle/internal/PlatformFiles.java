// SPDX-License-Identifier: MIT
package dev.rekindle.internal;

/**
 * What a module with native files provides. Nobody asks it anything: it is there so that the module system takes the module
 * of a platform's jar in where it finds one, without a program that names it.
 */
public interface PlatformFiles {}
