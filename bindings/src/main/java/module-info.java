// SPDX-License-Identifier: MIT
/** The bindings of {@code rekindle.h}, for {@code dev.rekindle} alone. */
@SuppressWarnings("module") // which is built after this one
module dev.rekindle.bindings {
    exports dev.rekindle.internal.ffi to
            dev.rekindle;
}
