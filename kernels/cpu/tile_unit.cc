#include "kernels/cpu/tile_unit.h"

#include <cpuid.h>

#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace strata::kernels {
namespace {

// gcc 12's __builtin_cpu_supports says no to AMX where there is some.
bool CpuHasTiles() {
  constexpr unsigned kAmxBf16 = 1u << 22;
  constexpr unsigned kAmxTile = 1u << 24;
  constexpr unsigned kAmxInt8 = 1u << 25;
  constexpr unsigned kAll = kAmxBf16 | kAmxTile | kAmxInt8;
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kAll) == kAll;
}

// A thread's state with tiles is 8 KiB larger, which Linux makes room for only in processes that
// have asked (Documentation/arch/x86/xstate.rst). Holds for threads that are already there.
bool SystemAllowsTiles() {
#ifdef __linux__
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

}  // namespace

bool CanUseTiles() {
  static const bool can = CpuHasTiles() && SystemAllowsTiles();
  return can;
}

}  // namespace strata::kernels
