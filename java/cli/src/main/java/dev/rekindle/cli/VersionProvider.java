// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.NativeLibraryException;
import dev.rekindle.Rekindle;
import picocli.CommandLine.IVersionProvider;

/** What {@code --version} prints. */
final class VersionProvider implements IVersionProvider {
    @Override
    public String[] getVersion() {
        try {
            return new String[] {"rekindle " + Rekindle.nativeVersion()};
        } catch (NativeLibraryException failure) {
            return new String[] {"rekindle, without its native library: " + failure.getMessage()};
        }
    }
}
