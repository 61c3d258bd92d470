// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Pattern;

/**
 * A file system in memory, as it is mounted.
 *
 * @param folder where
 * @param options those of the file system, by commas
 */
record TmpfsMount(String folder, String options) {
    private static final Pattern HUGE = Pattern.compile("(^|,)huge=(always|within_size|advise)(,|$)");

    /** That in which the folder is. One that cannot be found has no options. */
    static TmpfsMount of(Path folder) throws IOException {
        return of(
                new String(Files.readAllBytes(Path.of("/proc/self/mountinfo")), StandardCharsets.UTF_8),
                device(folder));
    }

    /** @param mounts as in /proc/self/mountinfo, see proc_pid_mountinfo(5) */
    static TmpfsMount of(String mounts, String device) {
        return mounts.lines()
                .map(line -> line.split(" - ", 2))
                .filter(halves -> halves.length == 2)
                .filter(halves -> halves[0].split(" ", -1)[2].equals(device))
                .map(halves ->
                        new TmpfsMount(halves[0].split(" ", -1)[4], halves[1].split(" ", 3)[2]))
                .findFirst()
                .orElse(new TmpfsMount("it", ""));
    }

    /** Whether large files get huge pages. The kernel writes no option where they do not. */
    boolean huge() {
        return HUGE.matcher(options).find();
    }

    /** As the kernel splits a device number, see makedev(3). */
    private static String device(Path folder) throws IOException {
        long number = ((Number) Files.getAttribute(folder, "unix:dev")).longValue();
        long major = ((number >>> 8) & 0xfff) | ((number >>> 32) & ~0xfffL);
        long minor = (number & 0xff) | ((number >>> 12) & ~0xffL & 0xffffffffL);
        return major + ":" + minor;
    }
}
