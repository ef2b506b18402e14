// In which order the threads of a GPU run: an emulated one can be told, a real one cannot.

#ifndef STRATA_TESTS_KERNELS_EXECUTION_ORDER_H_
#define STRATA_TESTS_KERNELS_EXECUTION_ORDER_H_

namespace strata::kernels {

// Another order for each number. In emulated_order.cc, or in real_order.cc, where it does nothing.
void ChooseExecutionOrder(int number);

}  // namespace strata::kernels

#endif  // STRATA_TESTS_KERNELS_EXECUTION_ORDER_H_
