// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintWriter;
import java.nio.ByteBuffer;
import java.nio.channels.Pipe;
import org.jspecify.annotations.Nullable;

/** Standard output, which knows why it could not be written to: a full disk is a failure, a reader that has gone is none. */
final class StandardOutput extends PrintWriter {
    private final Remembering stream;

    private StandardOutput(Remembering stream) {
        super(stream, true, System.out.charset());
        this.stream = stream;
    }

    static StandardOutput open() {
        // The JVM's own stream tells nobody what was wrong.
        return new StandardOutput(new Remembering(new FileOutputStream(FileDescriptor.out)));
    }

    /** Whether who read it, as {@code head}, has read enough. */
    boolean readerHasGone() {
        return checkError() && stream.failure != null && brokenPipe().equals(stream.failure.getMessage());
    }

    /** What that is called here: the system's sentence, in the language of the locale. */
    private static String brokenPipe() {
        try {
            Pipe pipe = Pipe.open();
            pipe.source().close();
            try (Pipe.SinkChannel sink = pipe.sink()) {
                sink.write(ByteBuffer.wrap(new byte[1]));
            }
            return "";
        } catch (IOException broken) {
            return String.valueOf(broken.getMessage());
        }
    }

    /** Keeps what the writer around it swallows. */
    private static final class Remembering extends OutputStream {
        private final OutputStream out;
        private @Nullable IOException failure;

        private Remembering(OutputStream out) {
            this.out = out;
        }

        @Override
        public void write(int value) throws IOException {
            write(new byte[] {(byte) value}, 0, 1);
        }

        @Override
        public void write(byte[] bytes, int offset, int length) throws IOException {
            try {
                out.write(bytes, offset, length);
            } catch (IOException lost) {
                failure = lost;
                throw lost;
            }
        }
    }
}
