// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.rekindle_context_lease;
import dev.rekindle.internal.ffi.rekindle_error;
import java.lang.foreign.Arena;
import java.lang.foreign.GroupLayout;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicReferenceArray;
import org.jspecify.annotations.Nullable;

/**
 * The memory that native code sees during one call: a buffer borrowed for the call and given back at its end. This is the
 * library's one arena strategy: buffers belong to automatic arenas and are reused. A call allocates native memory only
 * where all buffers are in use, or needs more than one holds. Used by one thread at a time.
 */
final class NativeCall implements AutoCloseable, SegmentAllocator {
    /** Room for a run's request, its statistics and those of {@link NativeStatistics#CAPACITY} processes. */
    private static final long SIZE = 96 * 1024;

    private static final int IDLE_MAX = 16;
    private static final AtomicReferenceArray<@Nullable NativeCall> IDLE = new AtomicReferenceArray<>(IDLE_MAX);

    private final MemorySegment error;
    private final MemorySegment lease;
    private final MemorySegment buffer;

    /** What the buffer had no room for. Native code has addresses only, which keep nothing from the garbage collector. */
    private final List<MemorySegment> beyond = new ArrayList<>();

    private long used;

    private NativeCall() {
        Arena arena = Arena.ofAuto();
        error = arena.allocate(rekindle_error.layout());
        lease = arena.allocate(rekindle_context_lease.layout());
        buffer = arena.allocate(SIZE, Long.BYTES);
    }

    static NativeCall begin() {
        int first = (int) Thread.currentThread().threadId();
        for (int i = 0; i < IDLE_MAX; i++) {
            NativeCall call = IDLE.getAndSet((first + i) & (IDLE_MAX - 1), null);
            if (call != null) {
                return call;
            }
        }
        return new NativeCall();
    }

    /** Gives the buffer back; where enough are idle it is left to the garbage collector. */
    @Override
    public void close() {
        used = 0;
        beyond.clear();
        rekindle_error.phase(error, 0);
        rekindle_error.message(error, 0, (byte) 0);
        rekindle_error.criu_log(error, 0, (byte) 0);
        int first = (int) Thread.currentThread().threadId();
        for (int i = 0; i < IDLE_MAX; i++) {
            if (IDLE.compareAndSet((first + i) & (IDLE_MAX - 1), null, this)) {
                return;
            }
        }
    }

    MemorySegment error() {
        return error;
    }

    MemorySegment lease() {
        return lease;
    }

    /** The contents are not zeroed. */
    @Override
    public MemorySegment allocate(long byteSize, long byteAlignment) {
        long start = (used + byteAlignment - 1) & -byteAlignment;
        if (start + byteSize > SIZE) {
            MemorySegment own = Arena.ofAuto().allocate(byteSize, byteAlignment);
            beyond.add(own);
            return own;
        }
        used = start + byteSize;
        return buffer.asSlice(start, byteSize, byteAlignment);
    }

    MemorySegment zeroed(GroupLayout layout) {
        return allocate(layout).fill((byte) 0);
    }

    MemorySegment array(MemoryLayout layout, long count) {
        return allocate(layout.byteSize() * count, layout.byteAlignment());
    }

    MemorySegment string(@Nullable String text) {
        if (text == null) {
            return MemorySegment.NULL;
        }
        if (text.indexOf('\0') >= 0) {
            throw new IllegalArgumentException("a NUL character in \"" + text.replace('\0', '?') + "\"");
        }
        return allocateFrom(text);
    }

    MemorySegment path(@Nullable Path path) {
        if (path == null) {
            return MemorySegment.NULL;
        }
        byte[] name = NativePath.bytes(path);
        MemorySegment text = allocate(name.length + 1L, 1);
        MemorySegment.copy(name, 0, text, ValueLayout.JAVA_BYTE, 0, name.length);
        text.set(ValueLayout.JAVA_BYTE, name.length, (byte) 0);
        return text;
    }

    MemorySegment strings(List<String> texts) {
        if (texts.isEmpty()) {
            return MemorySegment.NULL;
        }
        MemorySegment array = array(ValueLayout.ADDRESS, texts.size());
        for (int i = 0; i < texts.size(); i++) {
            array.setAtIndex(ValueLayout.ADDRESS, i, string(texts.get(i)));
        }
        return array;
    }

    /** Into a field of fixed size, which ends it. */
    void copy(String text, MemorySegment field) {
        MemorySegment string = string(text);
        if (string.byteSize() > field.byteSize()) {
            throw new IllegalArgumentException("\"" + text + "\" is longer than " + (field.byteSize() - 1) + " bytes");
        }
        field.copyFrom(string);
    }
}
