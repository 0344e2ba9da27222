// Greedy suppression by torchvision's algorithm: boxes sorted by score; the best one that is left is kept and compared
// with all behind it. boxes (n, 4) x1 y1 x2 y2, scores (n); kept (n): numbers of the boxes kept; returns how many.

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

extern "C" std::int64_t suppress(
    const float *boxes, const float *scores, std::int64_t n, float threshold, std::int64_t *kept) {
    std::vector<float> x1(n), y1(n), x2(n), y2(n), area(n);
    for (std::int64_t i = 0; i < n; i++) {
        x1[i] = boxes[4 * i], y1[i] = boxes[4 * i + 1], x2[i] = boxes[4 * i + 2], y2[i] = boxes[4 * i + 3];
        area[i] = (x2[i] - x1[i]) * (y2[i] - y1[i]);
    }
    std::vector<std::int64_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return scores[a] > scores[b]; });
    std::vector<std::uint8_t> gone(n, 0);
    std::int64_t count = 0;
    for (std::int64_t a = 0; a < n; a++) {
        const auto i = order[a];
        if (gone[i]) continue;
        kept[count++] = i;
        for (std::int64_t b = a + 1; b < n; b++) {
            const auto j = order[b];
            if (gone[j]) continue;
            const float w = std::max(0.0f, std::min(x2[i], x2[j]) - std::max(x1[i], x1[j]));
            const float h = std::max(0.0f, std::min(y2[i], y2[j]) - std::max(y1[i], y1[j]));
            const float shared = w * h;
            if (shared / (area[i] + area[j] - shared) > threshold) gone[j] = 1;
        }
    }
    return count;
}
