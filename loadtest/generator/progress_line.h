// How a run is going, in one line of a terminal that is written over.

#ifndef STRATA_LOADTEST_GENERATOR_PROGRESS_LINE_H_
#define STRATA_LOADTEST_GENERATOR_PROGRESS_LINE_H_

#include <cstdio>
#include <string>
#include <thread>

#include "loadtest/generator/collector.h"

namespace strata::loadtest {

// Writes twice a second while it lives, on a thread of its own, and wipes the line at its end.
class ProgressLine {
 public:
  // `collector` must outlive this.
  ProgressLine(std::FILE* out, std::string load, const Collector* collector);

 private:
  std::jthread thread_;
};

}  // namespace strata::loadtest

#endif  // STRATA_LOADTEST_GENERATOR_PROGRESS_LINE_H_
