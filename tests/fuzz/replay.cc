// A fuzz target without libFuzzer: runs it on each file of a corpus, then on mutations of them, the
// same ones each time. To find something new, `make fuzz`.
//   replay CORPUS_FOLDER NUM_MUTATIONS

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Input = std::string;

void Run(const Input& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

std::vector<Input> ReadCorpus(const char* folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<Input> corpus;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return corpus;
}

class Mutator {
 public:
  explicit Mutator(const std::vector<Input>& corpus) : corpus_(corpus) {}

  Input Next() {
    Input input = corpus_[Below(corpus_.size())];
    for (size_t i = 1 + Below(4); i > 0; --i) MutateOnce(&input);
    return input;
  }

 private:
  size_t Below(size_t limit) {
    return std::uniform_int_distribution<size_t>(0, limit - 1)(random_);
  }

  void MutateOnce(Input* input) {
    const size_t position = Below(input->size() + 1);
    const size_t length = std::min(Below(9), input->size() - position);
    switch (Below(5)) {
      case 0:
        if (position < input->size()) (*input)[position] = static_cast<char>(Below(256));
        break;
      case 1:
        input->erase(position, length);
        break;
      case 2:
        input->insert(position, input->substr(position, length));
        break;
      case 3: {  // part of another one
        const Input& other = corpus_[Below(corpus_.size())];
        if (!other.empty()) input->insert(position, other, Below(other.size()), Below(33));
        break;
      }
      default: {  // what numbers and brackets break on
        static const std::vector<Input> kWords = {"-1",
                                                  "0",
                                                  "1e999",
                                                  "9223372036854775807",
                                                  "18446744073709551616",
                                                  "null",
                                                  "[",
                                                  "{",
                                                  "\\ud800",
                                                  "\"",
                                                  ",",
                                                  ":",
                                                  std::string(1, '\0'),
                                                  "\xff\xff\xff\xff",
                                                  "\x7f"};
        input->replace(position, length, kWords[Below(kWords.size())]);
        break;
      }
    }
  }

  const std::vector<Input>& corpus_;
  std::mt19937_64 random_{1};
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return EXIT_FAILURE;
  const std::vector<Input> corpus = ReadCorpus(argv[1]);
  if (corpus.empty()) return EXIT_FAILURE;
  for (const Input& input : corpus) Run(input);
  Mutator mutator(corpus);
  const long num_mutations = std::strtol(argv[2], nullptr, 10);
  for (long i = 0; i < num_mutations; ++i) Run(mutator.Next());
  std::printf("%zu inputs, %ld mutations\n", corpus.size(), num_mutations);
  return EXIT_SUCCESS;
}
