#include "bench/report.h"

#include <fmt/format.h>

#include "nlohmann/json.hpp"

namespace strata::bench {
namespace {

constexpr size_t kUnitWidth = 9;

}  // namespace

std::string ToTable(const Report& report) {
  std::string table = fmt::format("model    {}\nbackend  {}\n", report.model, report.backend);
  if (report.limits.read_gb_s > 0) {
    table +=
        fmt::format("limits   {:.1f} GB/s read, {:.0f} GFLOP/s bf16, {:.0f} GOP/s int8\n",
                    report.limits.read_gb_s, report.limits.bf16_gflop_s, report.limits.int8_gop_s);
  }
  table += '\n';
  table += fmt::format("{:<22}{:>10}  {:<9}{:>10}{:>10}{:>7}{:>7}{:>12}{:>7}{:>10}{:>11}\n", "name",
                       "value", "unit", "limit", "fraction", "bound", "GB/s", "acceptance", "tau",
                       "speed-up", "predicted");
  for (const Row& row : report.rows) {
    // Five digits, which a difference in quality needs.
    const int decimals = row.value < 10 ? 4 : 2;
    table += fmt::format("{:<22}{:>10.{}f}  {}", row.name, row.value, decimals, row.unit);
    if (row.limit > 0) {
      table += fmt::format("{:{}}{:>10.2f}{:>10.2f}", "", kUnitWidth - row.unit.size(), row.limit,
                           row.value / row.limit);
    }
    if (row.beside) table += fmt::format("{:>7}{:>7.1f}", row.bound, row.beside->read_gb_s);
    if (row.speculative) {
      table += fmt::format("{:>26.3f}{:>7.2f}{:>10.2f}{:>11.2f}", row.speculative->acceptance_rate,
                           row.speculative->tokens_per_round, row.speculative->speedup,
                           row.speculative->predicted_speedup);
    }
    if (row.comparison) {
      const AutoComparison& beside = *row.comparison;
      table += fmt::format("  {:.3f} of off ({:.3f} to {:.3f}), ", row.value / beside.off,
                           beside.least_of_off, beside.most_of_off);
      if (beside.best_fixed > 0) {
        table += fmt::format("{:.3f} of {}; ", row.value / beside.best_fixed, beside.best_name);
      }
      table += fmt::format("drafts {:.2f} a round, accepts {:.2f}", beside.drafts_per_round,
                           beside.acceptance_rate);
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
    if (row.beside) {
      result["bound"] = row.bound;
      result["read_gb_s"] = row.beside->read_gb_s;
      result["dot_gop_s"] = row.beside->dot_gop_s;
    }
    if (row.speculative) {
      result["acceptance_rate"] = row.speculative->acceptance_rate;
      result["tokens_per_round"] = row.speculative->tokens_per_round;
      result["draft_cost"] = row.speculative->draft_cost;
      result["speedup"] = row.speculative->speedup;
      result["predicted_speedup"] = row.speculative->predicted_speedup;
    }
    if (row.comparison) {
      result["off"] = row.comparison->off;
      result["least_of_off"] = row.comparison->least_of_off;
      result["most_of_off"] = row.comparison->most_of_off;
      result["best_fixed"] = row.comparison->best_fixed;
      result["best_name"] = row.comparison->best_name;
      result["acceptance_rate"] = row.comparison->acceptance_rate;
      result["drafts_per_round"] = row.comparison->drafts_per_round;
    }
    json["results"].push_back(std::move(result));
  }
  return json.dump(2);
}

}  // namespace strata::bench
