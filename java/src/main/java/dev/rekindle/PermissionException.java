// SPDX-License-Identifier: MIT
package dev.rekindle;

/** The caller lacks a privilege; the message names it. Any threads may use it, as every {@link RekindleException}. */
public final class PermissionException extends RekindleException {
    private static final long serialVersionUID = 1;

    PermissionException(Failure failure) {
        super(failure, null);
    }
}
