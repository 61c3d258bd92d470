// SPDX-License-Identifier: MIT
package dev.rekindle.linux.x86_64;

import dev.rekindle.internal.PlatformFiles;

/** Says that the native files of this platform are in this module. */
public final class LinuxFiles implements PlatformFiles {}
