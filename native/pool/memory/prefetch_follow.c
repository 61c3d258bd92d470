/* SPDX-License-Identifier: MIT */
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "pool/memory/prefetch.h"
#include "support/clock.h"
#include "support/log.h"

/*
 * Many from one image: where another restore of this pool fills the same image, or has filled it and its process does not run
 * yet, this one follows it and copies from its memory, on the device or from GPU to GPU, what that one has read and compared.
 * So the files are read once, however many restores there are at the same time. What is kept in pinned memory is followed
 * likewise. Images are the same where their manifests are, which have the checksums of all contents.
 *
 * The other one is known by its number, and looked up for each step, as it may end at any time: nobody waits for it who could
 * read the files himself. What it does not come to give is read from them.
 */

/* So long one that gets nothing done is waited for. */
#define PATIENCE_NS UINT64_C(1000000000)
/* Copied before somebody looks again whether it may go on. */
#define STEP_CHUNKS 64u
#define PAUSE_NS 500000

/* With the pool's lock. NULL: it has ended. */
static struct prefetch *find_number(const struct pool *pool, uint64_t number)
{
	struct prefetch *prefetch;

	for (prefetch = pool->prefetches; prefetch && prefetch->number != number; prefetch = prefetch->next)
		;
	return prefetch;
}

/* With both locks: does it read the files itself, or has it all of them? What is parked on a device is mapped nowhere. */
static bool may_lead(const struct prefetch *prefetch, const struct prefetch_image *image)
{
	return prefetch->allowed && !prefetch->cancelled && !prefetch->brings_back && !image->taken &&
	       !(prefetch->parked && !prefetch->pinned) &&
	       (image->state == PREFETCH_FILLED || (image->state < PREFETCH_FILLED && !image->leader));
}

void prefetch_follow_begin(struct prefetch *prefetch, struct prefetch_image *image)
{
	struct prefetch *other, *leader = NULL;
	struct pool *pool = prefetch->pool;
	struct prefetch_image *found;
	const struct gpu_image *own = image->image;

	if (prefetch->brings_back || !image->bytes)
		return;
	pthread_mutex_lock(&pool->lock);
	/* All that begin at once follow the first one, which is the last of the list: others may turn out to follow it, too. */
	for (other = pool->prefetches; other; other = other->next) {
		if (other->number >= prefetch->number || (prefetch->options.verify && !other->options.verify))
			continue;
		found = prefetch_find(other, own->id);
		pthread_mutex_lock(&other->lock);
		if (found && !memcmp(found->image->manifest_sum, own->manifest_sum, sizeof(own->manifest_sum)) &&
		    may_lead(other, found))
			leader = other;
		pthread_mutex_unlock(&other->lock);
	}
	if (leader) {
		pthread_mutex_lock(&leader->lock);
		prefetch_find(leader, image->image->id)->followers++;
		pthread_mutex_unlock(&leader->lock);
		image->leader = leader->number;
		image->was_pinned = leader->pinned;
	}
	pthread_mutex_unlock(&pool->lock);
	if (image->was_pinned)
		prefetch_note_use(pool, image->leader);
}

void prefetch_follow_end(struct prefetch *prefetch, struct prefetch_image *image)
{
	struct pool *pool = prefetch->pool;
	struct prefetch *leader;

	if (!image->leader)
		return;
	pthread_mutex_lock(&pool->lock);
	leader = find_number(pool, image->leader);
	if (leader) {
		pthread_mutex_lock(&leader->lock);
		prefetch_find(leader, image->image->id)->followers--;
		pthread_cond_broadcast(&leader->changed);
		pthread_mutex_unlock(&leader->lock);
	}
	pthread_mutex_unlock(&pool->lock);
	pthread_mutex_lock(&prefetch->lock);
	image->leader = 0;
	pthread_mutex_unlock(&prefetch->lock);
}

/* What is copied at the moment, and from where. */
struct following {
	struct prefetch *prefetch;
	struct prefetch_image *image;
	unsigned int job;
	CUstream stream;
	uint32_t allocation, number; /* the next chunk, */
	size_t chunk;		     /* in its job */
	struct prefetch *leader;     /* of a step: it does not end */
	struct prefetch_image *lead;
	CUdeviceptr reached; /* the device reaches the memory there; 0: none. The leader may move between two steps */
	uint64_t progress;   /* of the leader, */
	uint64_t since;	     /* the last time that it was another */
};

/* With the leader's lock: how many of the next chunks it has. -1: there will be no more. */
static int count_there(const struct following *following, const struct prefetch *leader,
		       const struct prefetch_image *lead)
{
	const struct prefetch_job *own = &following->image->jobs[following->job], *job;
	size_t left = own->chunk_count - following->chunk, count = 0;

	if (leader->cancelled || lead->taken || lead->state == PREFETCH_FAILED)
		return -1;
	if (left > STEP_CHUNKS)
		left = STEP_CHUNKS;
	if (lead->state == PREFETCH_FILLED)
		return (int)left;
	if (lead->state != PREFETCH_FILLING)
		return 0;
	job = &lead->jobs[following->job];
	while (count < left &&
	       (own->chunks[following->chunk + count].zero || copy_job_has_loaded(job->job, following->chunk + count)))
		count++;
	return (int)count;
}

/* Likewise; the leader does not let go of them before step_end. */
static int step_begin(struct following *following)
{
	struct pool *pool = following->prefetch->pool;
	struct prefetch *leader;
	int count = -1;

	pthread_mutex_lock(&pool->lock);
	leader = find_number(pool, following->image->leader);
	if (leader) {
		if (!atomic_load(&following->prefetch->background))
			prefetch_hurry(leader);
		following->leader = leader;
		following->lead = prefetch_find(leader, following->image->image->id);
		pthread_mutex_lock(&leader->lock);
		count = count_there(following, leader, following->lead);
		if (count > 0)
			following->lead->copiers++;
		pthread_mutex_unlock(&leader->lock);
	}
	pthread_mutex_unlock(&pool->lock);
	return count;
}

static void step_end(struct following *following)
{
	struct prefetch *leader = following->leader;

	pthread_mutex_lock(&leader->lock);
	following->lead->copiers--;
	pthread_cond_broadcast(&leader->changed);
	pthread_mutex_unlock(&leader->lock);
}

/* Memory of another GPU is out of reach until its owner gives access, once for each piece of it. */
static CUresult reach(struct following *following, const struct held_memory *from)
{
	const struct pool_device *device = following->image->jobs[following->job].device;
	const struct cuda_driver *driver = &following->prefetch->pool->driver;
	CUmemAccessDesc access = {
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device->device},
		.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
	};
	CUresult status = CUDA_SUCCESS;
	int can = 0;

	if (!from->mapped)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (from->device != device && following->reached != from->here) {
		can = from->on_host;
		if (!can)
			status = driver->cuDeviceCanAccessPeer(&can, device->device, from->device->device);
		if (status == CUDA_SUCCESS)
			status = can ? driver->cuMemSetAccess(from->here, from->bytes, &access, 1)
				     : CUDA_ERROR_NOT_SUPPORTED;
	}
	following->reached = status == CUDA_SUCCESS ? from->here : 0;
	return status;
}

static CUresult copy_chunk(struct following *following)
{
	const struct cuda_driver *driver = &following->prefetch->pool->driver;
	const struct held_memory *from = &following->lead->memory[following->allocation];
	const struct copy_chunk *chunk = &following->image->jobs[following->job].chunks[following->chunk];
	CUresult status;

	status = reach(following, from);
	return status == CUDA_SUCCESS ? driver->cuMemcpyDtoDAsync(
						chunk->device_address,
						from->here + following->number * following->image->image->chunk_bytes,
						chunk->bytes, following->stream)
				      : status;
}

/* To the next chunk of this job, in the order of the manifest, as make_jobs in prefetch_fill.c has it. */
static void advance(struct following *following)
{
	const struct gpu_image *manifest = following->image->image;

	following->chunk++;
	following->number++;
	while (following->allocation < manifest->allocation_count &&
	       (following->number >= manifest->allocations[following->allocation].chunk_count ||
		following->image->memory[following->allocation].device !=
			following->image->jobs[following->job].device)) {
		following->allocation++;
		following->number = 0;
	}
}

static CUresult copy_chunks(struct following *following, int count)
{
	struct prefetch_job *job = &following->image->jobs[following->job];
	size_t first = following->chunk, i;
	CUresult status = CUDA_SUCCESS, end;
	uint64_t bytes = 0;

	for (; count && status == CUDA_SUCCESS; count--) {
		/* Zeros are nobody's: the image's job writes them. */
		if (!job->chunks[following->chunk].zero)
			status = copy_chunk(following);
		advance(following);
	}
	end = following->prefetch->pool->driver.cuStreamSynchronize(following->stream);
	status = status == CUDA_SUCCESS ? end : status;
	if (status != CUDA_SUCCESS)
		return status;
	/* There is nothing to do for them any more. */
	for (i = first; i < following->chunk; i++) {
		if (job->chunks[i].zero)
			continue;
		bytes += job->chunks[i].bytes;
		job->chunks[i].bytes = 0;
	}
	atomic_fetch_add(&following->image->followed, bytes);
	return status;
}

/* Grows as long as the leader makes or fills memory. With its lock. */
static uint64_t progress_of(const struct prefetch *leader, const struct prefetch_image *lead)
{
	uint64_t progress = atomic_load(&leader->pieces_made) + atomic_load(&lead->followed);
	unsigned int job;

	for (job = 0; lead->state == PREFETCH_FILLING && job < lead->job_count; job++)
		progress += copy_job_bytes_done(lead->jobs[job].job);
	return progress;
}

/* Of one that has nothing new at the moment: is it still worth waiting for? */
static bool leader_gets_on(struct following *following)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	struct pool *pool = following->prefetch->pool;
	uint64_t now = monotonic_nanoseconds(), progress = 0;
	struct prefetch *leader;

	nanosleep(&pause, NULL);
	pthread_mutex_lock(&pool->lock);
	leader = find_number(pool, following->image->leader);
	if (leader) {
		pthread_mutex_lock(&leader->lock);
		progress = progress_of(leader, prefetch_find(leader, following->image->image->id));
		pthread_mutex_unlock(&leader->lock);
	}
	pthread_mutex_unlock(&pool->lock);
	if (progress != following->progress || !following->since) {
		following->progress = progress;
		following->since = now;
	}
	return leader && now - following->since < PATIENCE_NS;
}

/* False: the rest is to be read. */
static bool follow_job(struct following *following)
{
	const struct prefetch_job *job = &following->image->jobs[following->job];
	const struct cuda_driver *driver = &following->prefetch->pool->driver;
	CUresult status = CUDA_SUCCESS;
	int count;

	while (following->chunk < job->chunk_count && !prefetch_is_cancelled(following->prefetch)) {
		count = step_begin(following);
		if (count < 0 || (count == 0 && !leader_gets_on(following)))
			return false;
		if (count == 0)
			continue;
		status = copy_chunks(following, count);
		step_end(following);
		if (status != CUDA_SUCCESS) {
			log_info("What is in the pool's memory could not be copied to GPU %d (%s): the files are read",
				 job->device->device, cuda_result_name(driver, status));
			return false;
		}
	}
	return following->chunk == job->chunk_count;
}

void prefetch_follow(struct prefetch *prefetch, struct prefetch_image *image)
{
	struct following following = {.prefetch = prefetch, .image = image};
	const struct cuda_driver *driver = &prefetch->pool->driver;
	uint64_t began = monotonic_nanoseconds();
	bool more = true;
	unsigned int i;

	if (!image->leader)
		return;
	for (i = 0; i < image->job_count && more; i++) {
		more = !pool_device_use(image->jobs[i].device, NULL) &&
		       driver->cuStreamCreate(&following.stream, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS;
		if (!more)
			break;
		following.job = i;
		following.reached = 0;
		following.chunk = SIZE_MAX; /* before the first one */
		following.allocation = 0;
		following.number = UINT32_MAX;
		advance(&following);
		more = follow_job(&following);
		driver->cuStreamDestroy(following.stream);
	}
	prefetch_follow_end(prefetch, image);
	image->was_pinned &= more;
	for (i = 0; i < image->job_count; i++)
		copy_job_grow(image->jobs[i].job, image->jobs[i].chunk_count, true);
	image->follow_began = began;
	image->follow_ended = monotonic_nanoseconds();
	log_info("%llu MiB of %s came from %s, in %.3f s", (unsigned long long)(atomic_load(&image->followed) >> 20),
		 image->image->files[0].name, image->was_pinned ? "pinned memory" : "the memory of another restore",
		 (double)(image->follow_ended - began) / 1e9);
}
