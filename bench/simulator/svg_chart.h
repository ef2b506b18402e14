// Line charts as one self-contained SVG, panels below each other.

#ifndef STRATA_BENCH_SIMULATOR_SVG_CHART_H_
#define STRATA_BENCH_SIMULATOR_SVG_CHART_H_

#include <string>
#include <vector>

namespace strata::sim {

struct Series {
  std::string name;
  std::vector<double> values;  // one per x; not finite: a gap
};

struct Panel {
  std::string title;  // with the unit
  std::vector<Series> series;
};

struct Chart {
  std::string title;
  std::string x_title;
  std::vector<double> x;  // ascending, at least one
  bool log_x = false;     // then all x are positive
  std::vector<Panel> panels;
};

std::string ToSvg(const Chart& chart);

}  // namespace strata::sim

#endif  // STRATA_BENCH_SIMULATOR_SVG_CHART_H_
