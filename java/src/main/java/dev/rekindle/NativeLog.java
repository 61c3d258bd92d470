// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import dev.rekindle.internal.ffi.rekindle_log_callback;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The native library's log lines, to the logger {@code dev.rekindle.native}. Which of them the logger lets through is looked
 * at when a call begins, so that its level may be changed while the program runs.
 */
final class NativeLog {
    private static final Logger LOGGER = LoggerFactory.getLogger("dev.rekindle.native");

    private NativeLog() {}

    /** Made with the first line that is asked for, after the library was loaded. */
    private static final class Stub {
        static final MemorySegment LOG = rekindle_log_callback.allocate(NativeLog::log, Arena.global());
    }

    /** What was asked for last; 0 is the library's own default, nothing. */
    private static int asked;

    /** Asks for the lines that the logger lets through now; none are sent where it lets none through. */
    static synchronized void connect() {
        int highest = highest();
        if (highest != asked) {
            RekindleNative.rekindle_set_log(highest == 0 ? MemorySegment.NULL : Stub.LOG, MemorySegment.NULL, highest);
            asked = highest;
        }
    }

    private static int highest() {
        if (LOGGER.isDebugEnabled()) {
            return RekindleNative.REKINDLE_LOG_DEBUG();
        }
        if (LOGGER.isInfoEnabled()) {
            return RekindleNative.REKINDLE_LOG_INFO();
        }
        if (LOGGER.isWarnEnabled()) {
            return RekindleNative.REKINDLE_LOG_WARNING();
        }
        return LOGGER.isErrorEnabled() ? RekindleNative.REKINDLE_LOG_ERROR() : 0;
    }

    /** Nothing may escape from here: an exception that leaves an upcall ends the JVM. */
    private static void log(int level, MemorySegment line, MemorySegment context) {
        try {
            String text = line.getString(0);
            if (level <= RekindleNative.REKINDLE_LOG_ERROR()) {
                LOGGER.error(text);
            } else if (level == RekindleNative.REKINDLE_LOG_WARNING()) {
                LOGGER.warn(text);
            } else if (level == RekindleNative.REKINDLE_LOG_INFO()) {
                LOGGER.info(text);
            } else {
                LOGGER.debug(text);
            }
        } catch (Throwable failure) {
            // A log line that cannot be logged is lost: there is no caller to throw it to.
        }
    }
}
