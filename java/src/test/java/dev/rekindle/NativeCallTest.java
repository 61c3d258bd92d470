// SPDX-License-Identifier: MIT
package dev.rekindle;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.foreign.MemorySegment;
import java.lang.ref.WeakReference;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** The memory of a call. */
class NativeCallTest {
    @BeforeAll
    static void load() {
        NativeLibrary.load();
    }

    /** A request has only its address, and the run that reads it may take minutes. */
    @Test
    void whatTheBufferHasNoRoomForStaysAsLongAsTheCall() throws Exception {
        try (NativeCall call = NativeCall.begin()) {
            var scope = new WeakReference<>(text(call).scope());
            // What nobody holds is found to be so at once, as this is.
            var nobodys = new WeakReference<>(new Object());
            while (nobodys.get() != null) {
                System.gc();
            }
            assertThat(scope.get()).isNotNull();
        }
    }

    private static MemorySegment text(NativeCall call) {
        return call.string("x".repeat(1 << 20));
    }
}
