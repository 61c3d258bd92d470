// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.ErrorCode;

/** A failure of the command line itself, with a code of the library's, which decides the exit status. */
final class CommandException extends RuntimeException {
    private static final long serialVersionUID = 1;

    private final ErrorCode code;

    CommandException(ErrorCode code, String sentence) {
        super(sentence);
        this.code = code;
    }

    ErrorCode code() {
        return code;
    }
}
