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

static void log_call(const char *symbol, CUresult result)
{
	static const char *wanted = "";
	char line[128];

	if (wanted && !*wanted)
		wanted = getenv("REKINDLE_SIMCUDA_LOG");
	if (!wanted || strcmp(wanted, "1"))
		return;
	snprintf(line, sizeof(line), "SIMULATED GPU: %s: %d\n", symbol, result);
	fputs(line, stderr);
}

static CUresult call_begin(const char *name, const char *symbol, enum call_kind kind)
{
	struct injected injected = injection_for_call(name, symbol);

	if (kind == CALL_STREAM && !injected.failure)
		set_stream_delay(injected.delay_nanoseconds);
	else
		sleep_nanoseconds(injected.delay_nanoseconds);
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
	return CUDA_SUCCESS;
}

#define ENTRY_POINT(name, symbol, version, kind, parameters, arguments)    \
	EXPORT CUresult symbol parameters;                                 \
	CUresult symbol parameters                                         \
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
SAME_INTERFACE(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2)
SAME_INTERFACE(cuDevicePrimaryCtxReset, cuDevicePrimaryCtxReset_v2)
SAME_INTERFACE(cuDevicePrimaryCtxSetFlags, cuDevicePrimaryCtxSetFlags_v2)
SAME_INTERFACE(cuCtxDestroy, cuCtxDestroy_v2)
SAME_INTERFACE(cuCtxPushCurrent, cuCtxPushCurrent_v2)
SAME_INTERFACE(cuCtxPopCurrent, cuCtxPopCurrent_v2)
SAME_INTERFACE(cuMemHostRegister, cuMemHostRegister_v2)
SAME_INTERFACE(cuStreamDestroy, cuStreamDestroy_v2)
SAME_INTERFACE(cuEventDestroy, cuEventDestroy_v2)
SAME_INTERFACE(cuIpcOpenMemHandle, cuIpcOpenMemHandle_v2)

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

static const struct {
	const char *name;
	int version;
	void *function;
} functions[] = {
#define FUNCTION_ENTRY(name, symbol, version, kind, parameters, arguments) {#name, version, (void *)symbol},
	SIMCUDA_FUNCTIONS(FUNCTION_ENTRY)};

CUresult simulated_cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags,
				       CUdriverProcAddressQueryResult *status)
{
	CUdriverProcAddressQueryResult found = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
	int best = -1;

	(void)flags;
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
		if (functions[i].version > best) {
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
