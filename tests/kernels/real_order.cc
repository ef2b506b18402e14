#include "tests/kernels/execution_order.h"

namespace strata::kernels {

void ChooseExecutionOrder(int) {}

}  // namespace strata::kernels
