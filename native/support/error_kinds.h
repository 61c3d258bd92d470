/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_SUPPORT_ERROR_KINDS_H
#define REKINDLE_SUPPORT_ERROR_KINDS_H

#include <errno.h>

/*
 * What the negative errno codes mean that go from part to part beside a sentence (see support/error_text.h), once:
 * KIND(errno, kind of error). The kinds are those of rekindle.h, REKINDLE_ERROR_kind, and a code that is not listed is
 * INTERNAL. Nobody turns one of them into another by what he thinks that was asked: where a call of the system may answer
 * with a code that means something else here, as ENOENT for a file that is no image, its caller says what it means.
 */
#define ERROR_KINDS(KIND)                                                             \
	KIND(EINVAL, INVALID_ARGUMENT)                                                \
	KIND(ENOTDIR, INVALID_ARGUMENT)                                               \
	KIND(EISDIR, INVALID_ARGUMENT)                                                \
	KIND(ENAMETOOLONG, INVALID_ARGUMENT)                                          \
	KIND(EADDRINUSE, INVALID_ARGUMENT) /* another pool listens there */           \
	KIND(ESRCH, NO_SUCH_PROCESS)                                                  \
	KIND(EPERM, PERMISSION)                                                       \
	KIND(EACCES, PERMISSION)                                                      \
	KIND(EROFS, PERMISSION)                                                       \
	KIND(ENOSYS, NO_DRIVER) /* one that lacks a function */                       \
	KIND(ENODEV, NO_DRIVER) /* none, or no GPU */                                 \
	KIND(EIO, GPU)                                                                \
	KIND(ENOENT, NO_IMAGE) /* and nothing else is missing */                      \
	KIND(EBADMSG, CORRUPT_IMAGE)                                                  \
	KIND(EILSEQ, CORRUPT_IMAGE)                                                   \
	KIND(ENODATA, CORRUPT_IMAGE) /* a part of it is missing */                    \
	KIND(ENOTSUP, INCOMPATIBLE)                                                   \
	KIND(EPROTO, INCOMPATIBLE) /* other version, or no speaker of the protocol */ \
	KIND(EPROTONOSUPPORT, INCOMPATIBLE)                                           \
	KIND(ECONNREFUSED, POOL_UNREACHABLE) /* and none could be started */          \
	KIND(EHOSTUNREACH, POOL_UNREACHABLE)                                          \
	KIND(EPIPE, POOL_DIED)                                                        \
	KIND(ECONNRESET, POOL_DIED)                                                   \
	KIND(ENOTCONN, POOL_DIED) /* before this was asked */                         \
	KIND(ENOMEM, NO_SPACE)	  /* of the machine, or of a GPU */                   \
	KIND(ENOSPC, NO_SPACE)                                                        \
	KIND(EDQUOT, NO_SPACE)                                                        \
	KIND(EFBIG, NO_SPACE)                                                         \
	KIND(ETIMEDOUT, TIMEOUT)                                                      \
	KIND(ECANCELED, CANCELLED)                                                    \
	KIND(EBUSY, BUSY)

#endif
