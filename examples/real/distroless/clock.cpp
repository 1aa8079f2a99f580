// clock SECONDS ZONE...: what a clock shows in each zone, so many seconds after the beginning of 1970.
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <string>

int main(int argc, char **argv) {
	if (argc < 3) {
		std::cerr << "usage: clock SECONDS ZONE...\n";
		return 2;
	}
	const std::time_t now = std::stoll(argv[1]);
	for (int i = 2; i < argc; i++) {
		const std::string zone = argv[i];
		if (!std::ifstream("/usr/share/zoneinfo/" + zone)) {
			std::cerr << "no zone " << zone << "\n";
			return 1;
		}
		setenv("TZ", zone.c_str(), 1);
		tzset();
		std::cout << std::left << std::setw(20) << zone << std::put_time(std::localtime(&now), "%F %R %Z") << "\n";
	}
}
