// SPDX-License-Identifier: MIT
module first.program {
    requires dev.rekindle;
}
