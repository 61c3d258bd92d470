// SPDX-License-Identifier: MIT
package dev.rekindle;

import java.util.Objects;
import java.util.Optional;

/**
 * A process that runs, as an inspection has seen it. Immutable, so any threads may use it.
 *
 * @param pid its pid, as this process sees it
 * @param parentPid its parent's
 * @param name its name
 * @param threads how many threads it has
 * @param cuda what it does with CUDA
 * @param agent how far the agent has come in it
 * @param agentNote why the agent is not {@link AgentState#READY}, or what does not reach others through it; empty where there
 *     is nothing to say
 */
public record InspectedProcess(
        long pid,
        long parentPid,
        String name,
        int threads,
        CudaState cuda,
        AgentState agent,
        Optional<String> agentNote) {
    /**
     * Checks that nothing is null.
     *
     * @param pid its pid, as this process sees it
     * @param parentPid its parent's
     * @param name its name
     * @param threads how many threads it has
     * @param cuda what it does with CUDA
     * @param agent how far the agent has come in it
     * @param agentNote why the agent is not {@link AgentState#READY}, or what does not reach others through it; empty where there
     *     is nothing to say
     */
    public InspectedProcess {
        Objects.requireNonNull(name, "name");
        Objects.requireNonNull(cuda, "cuda");
        Objects.requireNonNull(agent, "agent");
        Objects.requireNonNull(agentNote, "agentNote");
    }
}
