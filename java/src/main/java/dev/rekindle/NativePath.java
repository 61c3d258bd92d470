// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.io.ByteArrayOutputStream;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HexFormat;

/**
 * Paths as native code has them: bytes. As a text the JDK has a path in the encoding of the locale, which loses names of other
 * bytes, all but ASCII ones in the C locale; its URIs have the bytes.
 */
final class NativePath {
    private NativePath() {}

    /** The bytes of the absolute path. */
    static byte[] bytes(Path path) {
        Path absolute = path.toAbsolutePath();
        String text = absolute.toString();
        if (text.chars().allMatch(letter -> letter < 128)) {
            return text.getBytes(StandardCharsets.US_ASCII);
        }
        String escaped = absolute.toUri().getRawPath();
        var bytes = new ByteArrayOutputStream(escaped.length());
        for (int i = 0; i < escaped.length(); i++) {
            if (escaped.charAt(i) == '%') {
                bytes.write(HexFormat.fromHexDigits(escaped, i + 1, i + 3));
                i += 2;
            } else {
                bytes.write(escaped.charAt(i));
            }
        }
        byte[] all = bytes.toByteArray();
        // The URI of a folder ends in a slash.
        return all[all.length - 1] == '/' ? Arrays.copyOf(all, all.length - 1) : all;
    }

    /** The path of a text of native code, which is absolute where that is. */
    static Path of(MemorySegment text) {
        if (text.get(ValueLayout.JAVA_BYTE, 0) != '/') {
            return Path.of(text.getString(0));
        }
        var escaped = new StringBuilder("file://");
        for (long i = 0; text.get(ValueLayout.JAVA_BYTE, i) != 0; i++) {
            byte letter = text.get(ValueLayout.JAVA_BYTE, i);
            if (letter == '/') {
                escaped.append('/');
            } else {
                escaped.append('%').append(HexFormat.of().toHexDigits(letter));
            }
        }
        return Path.of(URI.create(escaped.toString()));
    }
}
