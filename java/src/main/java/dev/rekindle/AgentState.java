// SPDX-License-Identifier: MIT
package dev.rekindle;

import dev.rekindle.internal.ffi.RekindleNative;
import java.util.Map;

/** How far the agent, {@code librekindle-preload.so}, has come in a process. */
public enum AgentState {
    /** It is not loaded. */
    NONE,
    /** Loaded, and switched off with {@code REKINDLE_AGENT=0}. */
    DISABLED,
    /** Loaded, and nothing has come to it yet that it looks after. {@link InspectedProcess#agentNote()} says more. */
    IDLE,
    /** Device memory travels outside the process image. */
    READY,
    /** It was there. {@link InspectedProcess#agentNote()} says what is wrong. */
    UNREACHABLE;

    /** Apart from the enum, which must load where native access is denied. */
    private static final class Codes {
        static final Map<Integer, AgentState> VALUES = Map.ofEntries(
                Map.entry(RekindleNative.REKINDLE_AGENT_NONE(), NONE),
                Map.entry(RekindleNative.REKINDLE_AGENT_DISABLED(), DISABLED),
                Map.entry(RekindleNative.REKINDLE_AGENT_IDLE(), IDLE),
                Map.entry(RekindleNative.REKINDLE_AGENT_READY(), READY),
                Map.entry(RekindleNative.REKINDLE_AGENT_UNREACHABLE(), UNREACHABLE));
    }

    static AgentState of(int code) {
        return Codes.VALUES.getOrDefault(code, UNREACHABLE);
    }
}
