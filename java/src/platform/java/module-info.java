// SPDX-License-Identifier: MIT
import dev.rekindle.internal.PlatformFiles;
import dev.rekindle.linux.x86_64.LinuxFiles;

/** The native files of Rekindle for Linux on x86-64. */
@SuppressWarnings("module") // that its name ends in a digit, as the platform's does
module dev.rekindle.linux.x86_64 {
    requires dev.rekindle;

    provides PlatformFiles with
            LinuxFiles;
}
