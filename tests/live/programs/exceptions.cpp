// Virtual calls down a tree whose leaves throw, and templates of the standard library.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

struct Shape {
    virtual double area(int depth) const = 0;
    virtual ~Shape() {}
};

struct Circle : Shape {
    double radius;
    explicit Circle(double radius) : radius(radius) {}
    double area(int depth) const override;
};

struct Group : Shape {
    std::vector<std::unique_ptr<Shape>> items;
    double area(int depth) const override {
        double sum = 0;
        for (auto &item : items) sum += item->area(depth + 1);
        return sum;
    }
};

double Circle::area(int depth) const {
    if (depth > 3 && int(radius) % 7 == 0) throw std::runtime_error("round " + std::to_string(radius));
    return radius * radius * 3.14159;
}

static std::unique_ptr<Shape> make(int depth, int seed) {
    if (depth == 0) return std::make_unique<Circle>(seed % 100);
    auto group = std::make_unique<Group>();
    for (int i = 0; i < 4; i++) group->items.push_back(make(depth - 1, seed * 31 + i));
    return group;
}

int main(int count, char **arguments) {
    int rounds = count > 1 ? atoi(arguments[1]) : 300;
    double sum = 0;
    std::map<std::string, int> seen;
    auto tree = make(4, 5);
    for (int i = 0; i < rounds; i++) {
        try {
            sum += tree->area(i % 3);
        } catch (const std::exception &error) {
            seen[error.what()]++;
        }
        std::vector<std::string> names;
        for (int k = 0; k < 60; k++) names.push_back("name" + std::to_string((k * 7919 + i) % 1000));
        std::sort(names.begin(), names.end(), [](const std::string &a, const std::string &b) { return a > b; });
        sum += names[0].size();
    }
    printf("%f %zu\n", sum, seen.size());
}
