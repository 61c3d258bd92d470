// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.Rekindle;
import picocli.CommandLine.IVersionProvider;

/** What {@code --version} prints, without the native library, whose loading takes several times as long. */
final class VersionProvider implements IVersionProvider {
    @Override
    public String[] getVersion() {
        return new String[] {"rekindle " + Rekindle.version()};
    }
}
