/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simcuda/simcuda.h"

/*
 * The exported symbols, made from the table: injection, the caller's state, the gate, then the implementation.
 */

#define EXPORT __attribute__((visibility("default")))

/* How others tell this library from a real driver. */
EXPORT extern const int rekindle_simcuda;
const int rekindle_simcuda = 1;

/* For tests: how many address ranges are reserved, which no call of a driver tells. */
EXPORT size_t rekindle_simcuda_reservations(void);
size_t rekindle_simcuda_reservations(void)
{
	return reservations_in_use();
}

/*
 * REKINDLE_SIMCUDA_LOG=1: every call on standard error, with the thread that made it and the context that is current
 * after it ("none" where there is none).
 */
static void log_call(const char *symbol, CUresult result)
{
	const char *wanted = getenv("REKINDLE_SIMCUDA_LOG");
	char line[192], thread[16] = "", context[32] = "none";

	if (!wanted || strcmp(wanted, "1"))
		return;
	pthread_getname_np(pthread_self(), thread, sizeof(thread));
	if (current_context())
		snprintf(context, sizeof(context), "%p", (void *)current_context());
	snprintf(line, sizeof(line), "SIMULATED GPU: %s: %d (thread %s, context %s)\n", symbol, result, thread,
		 context);
	fputs(line, stderr);
}

static CUresult call_begin(const char *name, const char *symbol, enum call_kind kind)
{
	struct injected injected = injection_for_call(name, symbol);

	if (kind == CALL_STREAM && !injected.failure)
		set_stream_delay(injected.delay_nanoseconds);
	else
		spend_delay(injected.delay_nanoseconds);
	sleep_alone(injected.alone_nanoseconds);
	if (injected.breaks && current_context())
		device_break(current_context()->device, injected.failure);
	if (injected.failure)
		return injected.failure;
	if (kind == CALL_QUERY)
		return CUDA_SUCCESS;
	if (!process_is_initialised())
		return CUDA_ERROR_NOT_INITIALIZED;
	gate_enter();
	if (kind == CALL_CONTEXT && !current_context()) {
		gate_leave();
		return CUDA_ERROR_INVALID_CONTEXT;
	}
	if (kind != CALL_DRIVER && current_context() && device_error(current_context()->device) != CUDA_SUCCESS) {
		gate_leave();
		return device_error(current_context()->device);
	}
	return CUDA_SUCCESS;
}

#define ENTRY_POINT(name, symbol, version, kind, arguments)                \
	EXPORT CUresult symbol PARAMETERS_##symbol;                        \
	CUresult symbol PARAMETERS_##symbol                                \
	{                                                                  \
		CUresult result = call_begin(#name, #symbol, CALL_##kind); \
                                                                           \
		if (result == CUDA_SUCCESS) {                              \
			result = simulated_##symbol arguments;             \
			if (CALL_##kind != CALL_QUERY)                     \
				gate_leave();                              \
		}                                                          \
		log_call(#symbol, result);                                 \
		return result;                                             \
	}
SIMCUDA_FUNCTIONS(ENTRY_POINT)

/* Names without a suffix whose binary interface is that of the later variant. */
#define SAME_INTERFACE(plain, symbol) EXPORT extern __typeof__(symbol) plain __attribute__((alias(#symbol)));
SAME_INTERFACE(cuDevicePrimaryCtxSetFlags, cuDevicePrimaryCtxSetFlags_v2)
SAME_INTERFACE(cuCtxPushCurrent, cuCtxPushCurrent_v2)
SAME_INTERFACE(cuCtxPopCurrent, cuCtxPopCurrent_v2)
SAME_INTERFACE(cuMemHostRegister, cuMemHostRegister_v2)
SAME_INTERFACE(cuStreamDestroy, cuStreamDestroy_v2)
SAME_INTERFACE(cuEventDestroy, cuEventDestroy_v2)

/* Names without a suffix that had 32-bit addresses and sizes, of CUDA 2: there to be found, as in a real driver. */
#define OLD_INTERFACE(symbol)                    \
	EXPORT CUresult symbol(void);            \
	CUresult symbol(void)                    \
	{                                        \
		return CUDA_ERROR_NOT_SUPPORTED; \
	}
OLD_INTERFACE(cuDeviceTotalMem)
OLD_INTERFACE(cuCtxCreate)
OLD_INTERFACE(cuMemGetInfo)
OLD_INTERFACE(cuMemAlloc)
OLD_INTERFACE(cuMemAllocPitch)
OLD_INTERFACE(cuMemFree)
OLD_INTERFACE(cuMemGetAddressRange)
OLD_INTERFACE(cuMemAllocHost)
OLD_INTERFACE(cuMemHostGetDevicePointer)
OLD_INTERFACE(cuMemcpyHtoD)
OLD_INTERFACE(cuMemcpyDtoH)
OLD_INTERFACE(cuMemcpyDtoD)
OLD_INTERFACE(cuMemcpyHtoDAsync)
OLD_INTERFACE(cuMemcpyDtoHAsync)
OLD_INTERFACE(cuMemcpyDtoDAsync)
OLD_INTERFACE(cuMemsetD8)
OLD_INTERFACE(cuMemsetD16)
OLD_INTERFACE(cuMemsetD32)

/* ---- looking functions up ---- */

#define PER_THREAD_DEFAULT_STREAM 2u /* CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM */

/* A variant that no driver has yet: whoever knows the older one only must leave it alone. */
static CUresult variant_to_come(void)
{
	return CUDA_ERROR_NOT_SUPPORTED;
}

static const struct {
	const char *name;
	int version;
	void *function;
} functions[] = {
#define FUNCTION_ENTRY(name, symbol, version, kind, arguments) {#name, version, (void *)symbol},
	SIMCUDA_FUNCTIONS(FUNCTION_ENTRY){"cuMemAllocPitch", 19000, (void *)variant_to_come},
};

CUresult simulated_cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags,
				       CUdriverProcAddressQueryResult *status)
{
	CUdriverProcAddressQueryResult found = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
	int best = -1;

	if (!symbol || !function)
		return CUDA_ERROR_INVALID_VALUE;
	*function = NULL;
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		if (strcmp(functions[i].name, symbol))
			continue;
		if (functions[i].version > version) {
			if (best < 0)
				found = CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
			continue;
		}
		/* Of one version the variant for the per-thread default stream follows the other. */
		if (functions[i].version > best ||
		    (functions[i].version == best && flags & PER_THREAD_DEFAULT_STREAM)) {
			best = functions[i].version;
			*function = functions[i].function;
			found = CU_GET_PROC_ADDRESS_SUCCESS;
		}
	}
	if (status)
		*status = found;
	return CUDA_SUCCESS;
}

/* The first variant had no way to say why, so it fails. */
CUresult simulated_cuGetProcAddress(const char *symbol, void **function, int version, uint64_t flags)
{
	CUresult result = simulated_cuGetProcAddress_v2(symbol, function, version, flags, NULL);

	return result == CUDA_SUCCESS && !*function ? CUDA_ERROR_NOT_FOUND : result;
}

/* ---- results ---- */

static const struct {
	CUresult result;
	const char *name, *text;
} results[] = {
	{CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
	{CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
	{CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
	{CUDA_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
	{CUDA_ERROR_DEINITIALIZED, "CUDA_ERROR_DEINITIALIZED", "driver shutting down"},
	{CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
	{CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
	{CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
	{CUDA_ERROR_MAP_FAILED, "CUDA_ERROR_MAP_FAILED", "mapping of buffer object failed"},
	{CUDA_ERROR_ALREADY_MAPPED, "CUDA_ERROR_ALREADY_MAPPED", "resource already mapped"},
	{CUDA_ERROR_PEER_ACCESS_UNSUPPORTED, "CUDA_ERROR_PEER_ACCESS_UNSUPPORTED",
	 "peer access is not supported between these two devices"},
	{CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED, "CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED",
	 "peer access is already enabled"},
	{CUDA_ERROR_PEER_ACCESS_NOT_ENABLED, "CUDA_ERROR_PEER_ACCESS_NOT_ENABLED", "peer access has not been enabled"},
	{CUDA_ERROR_OPERATING_SYSTEM, "CUDA_ERROR_OPERATING_SYSTEM",
	 "OS call failed or operation not supported on this OS"},
	{CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
	{CUDA_ERROR_ILLEGAL_STATE, "CUDA_ERROR_ILLEGAL_STATE",
	 "the operation cannot be performed in the present state"},
	{CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
	{CUDA_ERROR_NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
	{CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
	{CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED",
	 "part or all of the requested memory range is already mapped"},
	{CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED",
	 "pointer does not correspond to a registered memory region"},
	{CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
	{CUDA_ERROR_NOT_PERMITTED, "CUDA_ERROR_NOT_PERMITTED", "operation not permitted"},
	{CUDA_ERROR_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
	{CUDA_ERROR_UNKNOWN, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

static CUresult find_result(CUresult error, const char **name, const char **text)
{
	for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
		if (results[i].result == error) {
			if (name)
				*name = results[i].name;
			if (text)
				*text = results[i].text;
			return CUDA_SUCCESS;
		}
	}
	if (name)
		*name = NULL;
	if (text)
		*text = NULL;
	return CUDA_ERROR_INVALID_VALUE;
}

CUresult simulated_cuGetErrorName(CUresult error, const char **name)
{
	return name ? find_result(error, name, NULL) : CUDA_ERROR_INVALID_VALUE;
}

CUresult simulated_cuGetErrorString(CUresult error, const char **text)
{
	return text ? find_result(error, NULL, text) : CUDA_ERROR_INVALID_VALUE;
}
