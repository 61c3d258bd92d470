// SPDX-License-Identifier: MIT
import dev.rekindle.internal.PlatformFiles;

/** Checkpoint and restore of GPU processes. */
@SuppressWarnings("module") // The platform's module is built after this one.
module dev.rekindle {
    requires dev.rekindle.bindings;
    requires jdk.jfr;
    requires static transitive org.jspecify;
    requires org.slf4j;

    exports dev.rekindle;
    exports dev.rekindle.internal to
            dev.rekindle.linux.x86_64;

    uses PlatformFiles;
}
