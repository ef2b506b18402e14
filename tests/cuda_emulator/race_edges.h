// What ThreadSanitizer is told of order between CUDA threads: what happened before a release of an
// address happened before a later acquire of it. Without ThreadSanitizer nothing.

#ifndef STRATA_TESTS_CUDA_EMULATOR_RACE_EDGES_H_
#define STRATA_TESTS_CUDA_EMULATOR_RACE_EDGES_H_

// The emulator's own files, whose fibers share its memory, are not instrumented: they are told.
#if defined(STRATA_RACE_CHECK)
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

namespace strata::cuda_emulator {

#if defined(STRATA_RACE_CHECK)
inline constexpr bool kChecksRaces = true;
inline void ReleaseOrder(void* at) { __tsan_release(at); }
inline void AcquireOrder(void* at) { __tsan_acquire(at); }
inline void BeginUnseen() { AnnotateIgnoreWritesBegin(__FILE__, __LINE__); }
inline void EndUnseen() { AnnotateIgnoreWritesEnd(__FILE__, __LINE__); }
#else
inline constexpr bool kChecksRaces = false;
inline void ReleaseOrder(void*) {}
inline void AcquireOrder(void*) {}
inline void BeginUnseen() {}
inline void EndUnseen() {}
#endif

// While one exists, nothing of what the running thread does counts: what it allocates is memory
// that nobody has touched, and what it writes and frees is nobody's.
class Unseen {
 public:
  Unseen() { BeginUnseen(); }
  ~Unseen() { EndUnseen(); }
  Unseen(const Unseen&) = delete;
  Unseen& operator=(const Unseen&) = delete;
};

}  // namespace strata::cuda_emulator

#endif  // STRATA_TESTS_CUDA_EMULATOR_RACE_EDGES_H_
