#include "bench/report.h"

#include <fmt/format.h>

#include "nlohmann/json.hpp"

namespace strata::bench {

std::string ToTable(const Report& report) {
  std::string table = fmt::format(
      "model    {}\nbackend  {}\nlimits   {:.1f} GB/s read, {:.0f} GFLOP/s bf16, {:.0f} GOP/s "
      "int8\n\n",
      report.model, report.backend, report.limits.read_gb_s, report.limits.bf16_gflop_s,
      report.limits.int8_gop_s);
  table += fmt::format("{:<22}{:>10}  {:<9}{:>10}{:>10}{:>12}{:>7}{:>9}{:>11}\n", "name", "value",
                       "unit", "limit", "fraction", "acceptance", "tau", "speed-up", "predicted");
  for (const Row& row : report.rows) {
    table += fmt::format("{:<22}{:>10.1f}  {:<9}", row.name, row.value, row.unit);
    table += row.limit > 0 ? fmt::format("{:>10.1f}{:>10.2f}", row.limit, row.value / row.limit)
                           : fmt::format("{:>20}", "");
    if (row.speculative) {
      table += fmt::format("{:>12.3f}{:>7.2f}{:>9.2f}{:>11.2f}", row.speculative->acceptance_rate,
                           row.speculative->tokens_per_round, row.speculative->speedup,
                           row.speculative->predicted_speedup);
    }
    table += '\n';
  }
  return table;
}

std::string ToJson(const Report& report) {
  nlohmann::ordered_json json;
  json["model"] = report.model;
  json["backend"] = report.backend;
  json["limits"] = {{"read_gb_s", report.limits.read_gb_s},
                    {"bf16_gflop_s", report.limits.bf16_gflop_s},
                    {"int8_gop_s", report.limits.int8_gop_s}};
  json["results"] = nlohmann::ordered_json::array();
  for (const Row& row : report.rows) {
    nlohmann::ordered_json result = {{"name", row.name}, {"value", row.value}, {"unit", row.unit}};
    if (row.limit > 0) {
      result["limit"] = row.limit;
      result["fraction"] = row.value / row.limit;
    }
    if (row.speculative) {
      result["acceptance_rate"] = row.speculative->acceptance_rate;
      result["tokens_per_round"] = row.speculative->tokens_per_round;
      result["draft_cost"] = row.speculative->draft_cost;
      result["speedup"] = row.speculative->speedup;
      result["predicted_speedup"] = row.speculative->predicted_speedup;
    }
    json["results"].push_back(std::move(result));
  }
  return json.dump(2);
}

}  // namespace strata::bench
