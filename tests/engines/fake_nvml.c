/* A stand-in for NVIDIA's libnvidia-ml.so.1: it answers from the text file that FAKE_NVML names, read anew at every call.
 *
 *     driver ERROR                                           what initialising answers: 9 not loaded, 18 other version
 *     gpu UUID TOTAL USED UTILIZATION CELSIUS MILLIWATTS ERROR    one line a device; ERROR 15 is a lost one, 3 one that
 *                                                            tells memory alone
 *     process GPU PID BYTES                                  one line a process with memory on a device
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, GPU_IS_LOST = 15, MOST = 64 };

typedef struct { char uuid[96]; unsigned long long total, used; unsigned rate, celsius, milliwatts; int error; } Gpu;
typedef struct { unsigned pid; unsigned long long bytes; unsigned instance, compute; } Process;
typedef struct { int error; unsigned gpus, processes; Gpu gpu[MOST]; struct { unsigned gpu; Process is; } process[MOST]; } Host;

static Host look(void) {
    Host host = {0};
    char line[512];
    FILE *file = fopen(getenv("FAKE_NVML"), "r");
    while (file && fgets(line, sizeof line, file)) {
        Gpu *gpu = &host.gpu[host.gpus % MOST];
        if (sscanf(line, "gpu %95s %llu %llu %u %u %u %d", gpu->uuid, &gpu->total, &gpu->used, &gpu->rate, &gpu->celsius,
                   &gpu->milliwatts, &gpu->error) == 7) host.gpus++;
        Process *process = &host.process[host.processes % MOST].is;
        if (sscanf(line, "process %u %u %llu", &host.process[host.processes % MOST].gpu, &process->pid,
                   &process->bytes) == 3) host.processes++;
        sscanf(line, "driver %d", &host.error);
    }
    if (file) fclose(file);
    return host;
}

/* A handle is the device's index plus one. */
static int ask(void *handle, Gpu *gpu) {
    Host host = look();
    unsigned index = (unsigned)(size_t)handle - 1;
    if (index >= host.gpus) return INVALID_ARGUMENT;
    *gpu = host.gpu[index];
    return gpu->error == GPU_IS_LOST ? GPU_IS_LOST : SUCCESS;
}

static int more(void *handle, Gpu *gpu) { int error = ask(handle, gpu); return error ? error : gpu->error; }

static int text(char *into, unsigned length, const char *from) { snprintf(into, length, "%s", from); return SUCCESS; }

int nvmlInitWithFlags(unsigned flags) { (void)flags; return look().error; }
int nvmlInit_v2(void) { return look().error; }
int nvmlShutdown(void) { return SUCCESS; }
int nvmlSystemGetDriverVersion(char *into, unsigned length) { return text(into, length, "580.95.05"); }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 13000; return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = look().gpus; return look().error; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    *handle = (void *)(size_t)(index + 1);
    return index < look().gpus ? SUCCESS : INVALID_ARGUMENT;
}

int nvmlDeviceGetName(void *handle, char *into, unsigned length) {
    Gpu gpu;
    int error = ask(handle, &gpu);
    return error ? error : text(into, length, "NVIDIA H200");
}

int nvmlDeviceGetUUID(void *handle, char *into, unsigned length) {
    Gpu gpu;
    int error = ask(handle, &gpu);
    return error ? error : text(into, length, gpu.uuid);
}

int nvmlDeviceGetMemoryInfo(void *handle, unsigned long long *memory) {
    Gpu gpu;
    int error = ask(handle, &gpu);
    if (!error) { memory[0] = gpu.total; memory[1] = gpu.total - gpu.used; memory[2] = gpu.used; }
    return error;
}

int nvmlDeviceGetUtilizationRates(void *handle, unsigned *rates) {
    Gpu gpu;
    int error = more(handle, &gpu);
    if (!error) { rates[0] = gpu.rate; rates[1] = 1; }
    return error;
}

int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *celsius) {
    Gpu gpu;
    int error = more(handle, &gpu);
    if (!error) *celsius = gpu.celsius;
    return sensor ? INVALID_ARGUMENT : error;
}

int nvmlDeviceGetPowerUsage(void *handle, unsigned *milliwatts) {
    Gpu gpu;
    int error = more(handle, &gpu);
    if (!error) *milliwatts = gpu.milliwatts;
    return error;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, Process *into) {
    Gpu gpu;
    Host host = look();
    unsigned room = *count, found = 0;
    int error = more(handle, &gpu);
    if (error) return error;
    for (unsigned i = 0; i < host.processes; i++)
        if (host.process[i].gpu == (unsigned)(size_t)handle - 1 && ++found <= room && into)
            into[found - 1] = host.process[i].is;
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}
