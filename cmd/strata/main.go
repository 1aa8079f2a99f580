// Command strata builds container images and shows their layers.
package main

func main() {}
