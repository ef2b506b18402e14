#include "tests/cuda_emulator/emulator.h"
#include "tests/kernels/execution_order.h"

namespace strata::kernels {

using cuda_emulator::Schedule;

void ChooseExecutionOrder(int number) {
  cuda_emulator::Settings settings;
  settings.schedule = number == 1   ? Schedule::kForward
                      : number == 2 ? Schedule::kReverse
                                    : Schedule::kRandom;
  settings.seed = static_cast<uint64_t>(number);
  settings.lazy_streams = true;
  cuda_emulator::Configure(settings);
}

}  // namespace strata::kernels
