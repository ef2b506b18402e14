// Line charts as one self-contained SVG, panels below each other.

#ifndef STRATA_FIGURES_SVG_CHART_H_
#define STRATA_FIGURES_SVG_CHART_H_

#include <string>
#include <vector>

namespace strata {

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

}  // namespace strata

#endif  // STRATA_FIGURES_SVG_CHART_H_
